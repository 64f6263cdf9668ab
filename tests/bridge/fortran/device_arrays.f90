! SPDX-License-Identifier: Apache-2.0
!> Arrays of a device, as programs for OpenACC and OpenMP bind them; compiled for the host, they are the host's own. The
!! emulator gives 2 tas + 1.
program device_arrays
   use, intrinsic :: iso_fortran_env, only: real32, real64
   use coupler_plugin, only: COUPLER_ERROR_ARRAY, coupler_array, coupler_t
   use testing, only: new_coupler, report, report_error
   implicit none

   type :: weather_t
      real(real64) :: tas = -9.0_real64, lai = -9.0_real64
   end type weather_t

   call openacc()
   call openmp()
   call sections()
   call components()
   call mistakes()

contains

   subroutine openacc()
      type(coupler_t) :: coupler
      integer :: id(5), i
      real(real64), target :: tas(5)
      real(real32), target :: lai(5)

      id = [(i, i=1, 5)]
      lai = -9.0_real32
      call new_coupler(coupler)
      call coupler%set_cells(id, 1.0*id, 1.0*id)
      !$acc enter data create(tas) copyin(lai)
      call couple(coupler, tas, lai)
      !$acc parallel loop present(tas)
      do i = 1, 5
         tas(i) = i
      end do
      !$acc wait
      call coupler%step()
      !$acc exit data copyout(lai) delete(tas)
      call report('openacc', all(nint(lai) == 2*id + 1))
      call coupler%finalize()
   end subroutine openacc

   subroutine couple(coupler, tas, lai)
      type(coupler_t), intent(in) :: coupler
      real(real64), intent(inout), target :: tas(:)
      real(real32), intent(inout), target :: lai(:)

      !$acc host_data use_device(tas, lai)
      call coupler%bind('tas', tas, units='K', device=.true.)
      call coupler%bind('lai', lai, device=.true.)
      !$acc end host_data
   end subroutine couple

   subroutine openmp()
      type(coupler_t) :: coupler
      integer :: id(5), i
      real(real64), target :: tas(5), lai(5)

      id = [(i, i=1, 5)]
      lai = -9.0_real64
      call new_coupler(coupler)
      call coupler%set_cells(id, 1.0*id, 1.0*id)
      !$omp target data map(alloc: tas) map(tofrom: lai)
      !$omp target data use_device_addr(tas, lai)
      call coupler%bind('tas', tas, device=.true.)
      call coupler%bind('lai', lai, device=.true.)
      !$omp end target data
      !$omp target
      do i = 1, 5
         tas(i) = i
      end do
      !$omp end target
      call coupler%step()
      !$omp end target data
      call report('openmp', all(nint(lai) == 2*id + 1))
      call coupler%finalize()
   end subroutine openmp

   subroutine sections()
      type(coupler_t) :: coupler
      integer :: id(3, 2), i
      real(real64), target :: tas(3, 4, 2), lai(6, 2)

      id = reshape([(i, i=1, 6)], shape(id))
      id(2, 1) = 0
      tas = 0.0_real64
      tas(:, 3, :) = id
      lai = -9.0_real64
      call new_coupler(coupler)
      call coupler%set_cells(id, tas(:, 3, :), tas(:, 3, :))
      call coupler%bind('tas', tas(:, 3, :), device=.true.)
      call coupler%bind('lai', lai(2:6:2, :), device=.true.)
      call coupler%step()
      call report('sections', all(nint(lai(2:6:2, :)) == merge(2*id + 1, -9, id > 0)) .and. all(nint(lai(1:5:2, :)) == -9))
      call coupler%finalize()
   end subroutine sections

   subroutine components()
      type(coupler_t) :: coupler
      type(weather_t), target :: cell(4)
      integer :: id(4), i

      id = [(i, i=1, 4)]
      cell%tas = id
      call new_coupler(coupler)
      call coupler%set_cells(id, cell%tas, cell%tas)
      call coupler%bind_array('tas', coupler_array(cell%tas), units='K', device=.true.)
      call coupler%bind_array('lai', coupler_array(cell%lai), device=.true.)
      call coupler%step()
      call report('components', all(nint(cell%lai) == 2*id + 1) .and. all(nint(cell%tas) == id))
      call coupler%finalize()
   end subroutine components

   subroutine mistakes()
      type(coupler_t) :: coupler
      real(real64), target :: tas(3), lai(3)
      integer, target :: flags(3)
      integer :: rc

      tas = 1.0_real64
      flags = 1
      call new_coupler(coupler)
      call coupler%set_cells([1, 2, 3], tas, tas)
      call coupler%bind('tas', tas(3:1:-1), device=.true., rc=rc)
      call report_error('backwards', coupler, rc)
      call coupler%bind('tas', flags, device=.true., rc=rc)
      call report_error('integers', coupler, rc)
      call coupler%bind('tas', tas, device=.false.)
      call coupler%bind('lai', lai)
      call coupler%step()
      call coupler%bind('tas', tas, device=.true., rc=rc)
      call report_error('moved', coupler, rc)
      call report('status', COUPLER_ERROR_ARRAY)
      call coupler%finalize()
   end subroutine mistakes

end program device_arrays

! SPDX-License-Identifier: Apache-2.0
!> Fields of rank 0 to 4 in default real: compiled as it is, and with -fdefault-real-8. The emulator gives 2 tas + 1.
program kinds_and_ranks
   use, intrinsic :: iso_fortran_env, only: int32, int64
   use coupler_plugin, only: coupler_t
   use testing, only: new_coupler, report
   implicit none

   call report('bits', storage_size(1.0))
   call rank_0()
   call rank_1()
   call rank_2()
   call rank_3()
   call rank_4()

contains

   subroutine rank_0()
      type(coupler_t) :: coupler
      real, target :: tas, lai

      tas = 7.0
      lai = -1.0
      call new_coupler(coupler)
      call coupler%set_cells(1, 10.0, 50.0)
      call coupler%bind('tas', tas)
      call coupler%bind('lai', lai)
      call coupler%step()
      call report('rank_0', abs(lai - 15.0) < epsilon(1.0))
      call coupler%finalize()
   end subroutine rank_0

   subroutine rank_1()
      type(coupler_t) :: coupler
      integer(int64) :: id(5)
      real, target :: tas(5), lai(5)
      integer :: i

      id = [(i, i=1, 5)]
      tas = real(id)
      lai = -1.0
      call new_coupler(coupler)
      call coupler%set_cells(id, tas, tas, area=1.0e8*tas)
      call coupler%bind('tas', tas)
      call coupler%bind('lai', lai)
      call coupler%step()
      call report('rank_1', all(abs(lai - (2.0*tas + 1.0)) < epsilon(1.0)))
      call coupler%finalize()
   end subroutine rank_1

   subroutine rank_2()
      type(coupler_t) :: coupler
      integer(int32) :: id(3, 4)
      real, target :: tas(3, 4), lai(3, 4)
      integer :: i

      id = reshape([(i, i=1, 12)], shape(id))
      tas = real(id)
      lai = -1.0
      call new_coupler(coupler)
      call coupler%set_cells(id, tas, tas)
      call coupler%bind('tas', tas)
      call coupler%bind('lai', lai)
      call coupler%step()
      call report('rank_2', all(abs(lai - (2.0*tas + 1.0)) < epsilon(1.0)))
      call coupler%finalize()
   end subroutine rank_2

   subroutine rank_3()
      type(coupler_t) :: coupler
      integer :: id(3, 4, 2), i
      real, target :: tas(3, 4, 2), lai(3, 4, 2)

      id = reshape([(i, i=1, 24)], shape(id))
      tas = real(id)
      lai = -1.0
      call new_coupler(coupler)
      call coupler%set_cells(id, tas, tas)
      call coupler%bind('tas', tas)
      call coupler%bind('lai', lai)
      call coupler%step()
      call report('rank_3', all(abs(lai - (2.0*tas + 1.0)) < epsilon(1.0)))
      call coupler%finalize()
   end subroutine rank_3

   subroutine rank_4()
      type(coupler_t) :: coupler
      integer :: id(2, 3, 2, 3), i
      real, target :: tas(2, 3, 2, 3), lai(2, 3, 2, 3)

      id = reshape([(i, i=1, 36)], shape(id))
      tas = real(id)
      lai = -1.0
      call new_coupler(coupler)
      call coupler%set_cells(id, tas, tas)
      call coupler%bind('tas', tas)
      call coupler%bind('lai', lai)
      call coupler%step()
      call report('rank_4', all(abs(lai - (2.0*tas + 1.0)) < epsilon(1.0)))
      call coupler%finalize()
   end subroutine rank_4

end program kinds_and_ranks

! SPDX-License-Identifier: Apache-2.0
!> Arrays that are parts of others: nothing is copied, and the places between stay as they were. The emulator gives
!! 2 tas + 1.
program strided_arrays
   use, intrinsic :: iso_fortran_env, only: real32, real64
   use coupler_plugin, only: coupler_array, coupler_t
   use testing, only: new_coupler, report
   implicit none

   type :: weather_t
      integer :: flag = 0
      real(real64) :: tas = -9.0_real64
      real(real32) :: lai = -9.0_real32
   end type weather_t

   call every_second_element()
   call backwards()
   call middle_level()
   call component()
   call pointer_to_section()

contains

   subroutine every_second_element()
      type(coupler_t) :: coupler
      integer :: id(4), i
      real(real64), target :: tas(8), lai(8)

      id = [(i, i=1, 4)]
      tas = [(i, i=1, 8)]
      lai = -9.0_real64
      call new_coupler(coupler)
      call coupler%set_cells(id, tas(:4), tas(:4))
      call coupler%bind('tas', tas(1:7:2))
      call coupler%bind('lai', lai(2:8:2))
      call coupler%step()
      call report('every_second_element', all(nint(lai) == [-9, 3, -9, 7, -9, 11, -9, 15]))
      call coupler%finalize()
   end subroutine every_second_element

   subroutine backwards()
      type(coupler_t) :: coupler
      integer :: id(3), i
      real(real32), target :: tas(3), lai(6)

      id = [(i, i=1, 3)]
      tas = [(i, i=1, 3)]
      lai = -9.0_real32
      call new_coupler(coupler)
      call coupler%set_cells(id(3:1:-1), tas, tas)
      call coupler%bind('tas', tas(3:1:-1))
      call coupler%bind('lai', lai(5:1:-2))
      call coupler%step()
      call report('backwards', all(nint(lai) == [3, -9, 5, -9, 7, -9]))
      call coupler%finalize()
   end subroutine backwards

   subroutine middle_level()
      type(coupler_t) :: coupler
      integer :: id(3, 2), i
      real(real64), target :: tas(3, 4, 2), lai(3, 4, 2)

      id = reshape([(i, i=1, 6)], shape(id))
      tas = 0.0_real64
      tas(:, 3, :) = id
      lai = -9.0_real64
      call new_coupler(coupler)
      call coupler%set_cells(id, tas(:, 3, :), tas(:, 3, :))
      call coupler%bind('tas', tas(:, 3, :))
      call coupler%bind('lai', lai(:, 2, :))
      call coupler%step()
      call report('middle_level', all(nint(lai(:, 2, :)) == 2*id + 1) .and. count(nint(lai) == -9) == 18)
      call coupler%finalize()
   end subroutine middle_level

   subroutine component()
      type(coupler_t) :: coupler
      type(weather_t), target :: cell(4)
      integer :: id(4), i

      id = [(i, i=1, 4)]
      cell%tas = id
      call new_coupler(coupler)
      call coupler%set_cells(id, cell%tas, cell%tas)
      call coupler%bind_array('tas', coupler_array(cell%tas), units='K')
      call coupler%bind_array('lai', coupler_array(cell%lai))
      call coupler%step()
      call report('component', all(nint(cell%lai) == 2*id + 1) .and. all(cell%flag == 0) .and. all(nint(cell%tas) == id))
      call coupler%finalize()
   end subroutine component

   subroutine pointer_to_section()
      type(coupler_t) :: coupler
      real(real64), target :: store(4, 5)
      real(real64), pointer :: tas(:, :), lai(:, :)
      integer :: id(2, 2), i

      id = reshape([(i, i=1, 4)], shape(id))
      store = -9.0_real64
      tas => store(1:2, 1:2)
      lai => store(3:4, 5:3:-2)
      tas = id
      call new_coupler(coupler)
      call coupler%set_cells(id, tas, tas)
      call coupler%bind('tas', tas)
      call coupler%bind('lai', lai)
      call coupler%step()
      call report('pointer_to_section', all(nint(store(3:4, 5)) == [3, 5]) .and. all(nint(store(3:4, 3)) == [7, 9]) &
                  .and. count(nint(store) == -9) == 12)
      call coupler%finalize()
   end subroutine pointer_to_section

end program strided_arrays
